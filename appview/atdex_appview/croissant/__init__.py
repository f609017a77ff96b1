"""Datasets as Croissant, the JSON-LD vocabulary that dataset search engines and loaders know.

Croissant: http://mlcommons.org/croissant/1.1. `document` makes one of what a node holds, without
I/O; `page` serves it.
"""
