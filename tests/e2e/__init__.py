"""End to end: a real gunicorn of the product, the scripted upstream, real clients.

Nothing of the product is imported.
"""
