"""One person's hand length, measured once: from a known distance, a ruler, or a depth camera beside the colour one.

A single picture cannot tell a small near hand from a large far one; a hand of known length has no such doubt.
"""
