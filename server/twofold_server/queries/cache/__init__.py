"""The cache in front of queries: answers are kept until a projector tells that their rows changed.

An answer is kept with the position of the snapshot that it was read in, and what it depends on. It is given
again only while every notice since that position was heard and none of them named what it depends on. So it
does not matter who stored it, or when: a read that was overtaken by a write is simply not used.
"""
