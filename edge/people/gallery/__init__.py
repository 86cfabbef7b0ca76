"""The gallery: enrolled people, encrypted at rest, with an audit log."""
