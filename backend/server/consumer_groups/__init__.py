"""Consumer-group mode, `USE_XREAD=false`: Redis keeps what each user has not acknowledged.

Before an entry is sent to a client, XREADGROUP has put it on the pending list of the user's
group; once the client has acknowledged it, XACK takes it off. What is sent still comes from
the tail and the answer's log, as without groups: so it does not matter which server an entry
was delivered to, and any number of tabs get all of them.

Without groups nothing of this package is used. Its classes extend those of the same module
names in the package above.
"""
