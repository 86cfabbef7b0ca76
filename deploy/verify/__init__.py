"""Does a model give the same answers in every runtime?"""
