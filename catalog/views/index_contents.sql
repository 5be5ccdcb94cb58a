-- What would an index of each instrument hold if it were built now? (`contents` changes with every fact of a pattern.)
CREATE OR REPLACE VIEW index_contents AS
SELECT
    instrument_type,
    count(*) AS patterns,
    -- Hashed twice: by one round alone, an even number of equal changes of a column would cancel each other out.
    bit_xor(hash(hash(*COLUMNS(*)))) AS contents
FROM searchable_patterns
GROUP BY instrument_type
