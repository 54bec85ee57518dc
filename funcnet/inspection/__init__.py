"""Tables and diagrams of networks. Imports networks."""
