"""What `maskmill serve` is made of: one network, the requests that wait for it, and two doors."""
