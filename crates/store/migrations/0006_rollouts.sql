-- Which revision of each container of a gateway is proven, on trial, or failed: written before the first step of a
-- replacement, so that this row decides after a crash and not anybody's memory.
ALTER TABLE observations ADD COLUMN rollouts jsonb;
