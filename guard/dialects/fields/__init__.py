"""The fields of each API's bodies, level by level, for `guard.dialects.weighing`.

A name is listed where servers are known to read it. Free-form objects (schemas, arguments, metadata) are not
levels: in them `Content` and `content` are honest neighbours.
"""
