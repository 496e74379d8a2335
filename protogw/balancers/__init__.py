"""Balancers: pick one endpoint out of those ready. Pure; know nothing of health or sockets."""

from protogw.balancers.ewma import Ewma
from protogw.balancers.least_connections import LeastConnections
from protogw.balancers.least_request import LeastRequest
from protogw.balancers.maglev import Maglev
from protogw.balancers.random import Random
from protogw.balancers.ring_hash import RingHash
from protogw.balancers.round_robin import RoundRobin
from protogw.kinds import table

BALANCERS = table("balancers", RoundRobin, LeastRequest, LeastConnections, Ewma, Random, RingHash, Maglev)
