"""The contract as documents for people and programs, all made from the models."""
