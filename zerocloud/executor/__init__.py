"""The storage node's side: one task at a time, next to its object.

Reading order: service (the WSGI filter) · controller (a method per stage) ·
duplex (the exchange with the proxy) · admission, replay · localobject ·
blobs, tarscan, images, program · staging, channels.
"""
