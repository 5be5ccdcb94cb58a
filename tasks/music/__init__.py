"""Pure music algorithms: arrays in, arrays out. No files, no SQL, no Prefect."""
