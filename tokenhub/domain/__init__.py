"""The pure core: stdlib only. Time, randomness and state arrive as arguments; no I/O, no framework.

Vocabulary: a *model* is offered by a *provider*; both together are a *target*. A caller holds a *key*. A
request becomes a *command*; the *itinerary* orders the targets to try; each try is an *attempt*; what came of
the whole is written once, as the *receipt*. Money is integer nano-dollars, prices are integer nano-dollars per
million tokens.
"""
