"""What can go wrong between a person and the lake. The command line prints the message and ends with exit code 2."""


class CatalogError(Exception):
    """A request that the lake cannot serve; the message says what to do, in one line."""


class LakeNotFound(CatalogError):
    """There is no lake at this place."""


class UnreadableLake(CatalogError):
    """The lake's catalogue cannot be read, or does not answer."""


class OpenSecret(CatalogError):
    """A password stands where it would be shown."""


class UnwritableLake(CatalogError):
    """The lake's folder cannot be written."""


class UnknownId(CatalogError):
    """No row has this identifier."""


class BadQuery(CatalogError):
    """The SQL or the filter cannot be understood."""


class MissingIndex(CatalogError):
    """No index has been built yet."""


class StaleIndex(CatalogError):
    """The index is older than the patterns it should answer for."""


class ShrunkenSource(CatalogError):
    """A folder holds under half of the files that the lake knows from it."""


class LakeInUse(CatalogError):
    """The lake is at work for somebody else."""


class TracesLeft(CatalogError):
    """Something of what was purged was found again."""
