"""Explanation: what a network is made of, and why it said what it said."""
