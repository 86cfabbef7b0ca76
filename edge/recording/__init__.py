"""What is kept of events: pictures, clips and continuous video, and the index of them."""
