"""What is read and learnt of one holder's queries, beside the requests."""
