-- Which captions come first by uid?
-- A uid is a hash: its order has nothing to do with the captions, so these are as good as drawn by lot, and the same
-- each time. 20 captions, unless $captions says how many.
SELECT uid, text
FROM shard_maps
ORDER BY uid, shard
LIMIT coalesce($captions, 20)
