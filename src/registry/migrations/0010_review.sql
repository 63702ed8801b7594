-- The few places of which something did not parse or is in doubt, for the queue of those to look at.
CREATE INDEX locations_in_doubt ON locations (image_id) WHERE needs_review <> '[]';
