"""The leak verdict: whether unloaded code is really gone, and if not, who holds it.

A module object usually dies while its functions, and through them everything, live on; so each
class and function that a plugin defined is watched with a weak reference of its own. Only when
some of them survive a collection are their holders looked for, which takes a while.
"""

from horae.plugins.leaks.remains import Remains as Remains
