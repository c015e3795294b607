"""libp2p"""
