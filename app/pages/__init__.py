"""Pages for people: each shows what an endpoint of the API says, and links to it.

Nothing here computes statistics. Pages need no script to be read; one module of ours and htmx make
them live. Nothing is loaded from elsewhere.
"""
