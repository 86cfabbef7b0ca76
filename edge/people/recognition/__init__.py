"""Face recognition: whose face is it, decided over a track."""
