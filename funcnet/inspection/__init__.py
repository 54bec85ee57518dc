"""Tables, pictures and derivations of networks. Imports core, layers, networks and training."""
