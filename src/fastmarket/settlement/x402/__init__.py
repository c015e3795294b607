"""The settlement `x402`: vouchers against deposits in a contract on an EVM chain. Needs `fastmarket[x402]`.

The contract's calls and its vouchers are those of the scheme `batch-settlement` on EVM of x402 version 2
(x402-foundation/x402, specs/schemes/batch-settlement/scheme_batch_settlement_evm.md). How a voucher travels
is ours: within the receipt.
"""
