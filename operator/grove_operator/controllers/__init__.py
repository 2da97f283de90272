"""Controllers: each makes one part of the world as it should be, key by key."""
