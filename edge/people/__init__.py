"""Who is known here: the gallery, what a face is worth, and the record of both."""
