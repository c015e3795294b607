"""Settlement: what turns receipts into money, as plug-ins. The first one, `none`, leaves them debts."""
