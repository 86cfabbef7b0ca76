"""Presentation attack detection: is the face a living person?"""
