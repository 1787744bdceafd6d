"""The contract as documents for people and programs, all generated from the models."""
