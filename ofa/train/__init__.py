"""Training a supernet and labelling its subnets; torch is imported by the modules, not here."""
