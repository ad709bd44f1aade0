"""Several holders that may be one distiller: what each leaves behind, what ties them, and the verdict.

    the analyst ─► observations ─► a stream in the store ─► the worker:
                   of single queries                    window ─► communities ─► judgement ─► groups
                                                        of each holder the latest        the campaigns

Nothing here is asked by a request: a campaign reaches it as data in the store.
"""
