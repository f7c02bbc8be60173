"""The elastic network: one set of weights, every subnet of a space; torch is imported by the modules, not here."""
