"""When and where: the Prefect flows, the Dask client, the settings and the command line."""
