"""What handlers are given beside what callers send."""

from litestar.di import NamedDependency

from shoal.control.actor import Actor
from shoal.control.options import Options
from shoal.storage.store import Store

GivenActor = NamedDependency[Actor]
GivenStore = NamedDependency[Store]
GivenOptions = NamedDependency[Options]
