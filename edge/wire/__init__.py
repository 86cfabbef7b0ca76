"""From values to messages and back: schema, encoding, topics."""
