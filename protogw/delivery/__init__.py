"""Delivery: how calls of one route are shared between versions of a service, and how versions are compared.

Everything here is a Target around other Targets, made when routes are. Knows the neutral call and no protocol: a REST
service and the gRPC service that follows it stand side by side.
"""
