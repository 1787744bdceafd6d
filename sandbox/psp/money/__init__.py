"""The payers' and the merchant's money: what is held, taken, given back and paid out, and the PSP's own book of it."""
