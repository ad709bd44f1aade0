"""Who is calling: from what a gateway, a credential or the network says to an identity."""
