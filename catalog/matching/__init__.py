"""How two fingerprints are laid over each other, and which of a lake's are worth it.

evidence.py says what speaks for two tracks being one song. Three matchers bring it: alignment.py for Chromaprint,
peak_keys.py and constellation.py for spectral peaks at any speed and pitch, beat_chroma.py for the harmony of other
recordings. fingerprint_index.py proposes what they compare, from segments.py on disk. catalog/duplicates.py asks them
all and writes what they find.
"""
