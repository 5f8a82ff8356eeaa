from zope.interface import Interface

class IPersistent(Interface): ...
class IPersistentDataManager(Interface): ...
class IPickleCache(Interface): ...

GHOST: int
UPTODATE: int
CHANGED: int
STICKY: int
