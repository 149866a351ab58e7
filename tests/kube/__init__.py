"""The slow, obvious twin of kube-scheduler v1.34: plain Python on the API's own objects.

Written from the specification of what that version computes; the sections (§) named in the
comments are its. `scenario.expectation` is the way in. Nothing is kept between pods but the
pods themselves, and nothing here is used by the library.
"""
