-- In how many captions does each of the most frequent words occur?
-- A word is a run of 2 to 40 letters (with their combining marks) and no digit, in lower case; scripts that put no spaces
-- between words give whole phrases. 50 words, unless $words says how many; stop words are among them.
WITH words AS (
    SELECT unnest(list_distinct(regexp_extract_all(lower(text), '[\pL\pN][\pL\pM\pN]+'))) AS word
    FROM shard_maps
)
SELECT word, count(*) AS captions
FROM words
WHERE NOT regexp_matches(word, '\pN') AND length(word) <= 40
GROUP BY word
ORDER BY captions DESC, word
LIMIT coalesce($words, 50)
