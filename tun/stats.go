package tun

import "sync/atomic"

// Stats counts what a [Link] has carried since it was opened. Bytes are IP
// bytes: no virtio header. A segment of 64 KiB counts as one packet.
//
// Rx is towards netstack, Tx towards the kernel. Packets that the kernel
// dropped because the device's queue was full never reach the Link; the
// kernel counts them as the device's tx_dropped (`ip -s link`).
type Stats struct {
	RxPackets uint64 // handed to netstack
	RxBytes   uint64
	TxPackets uint64 // taken by the kernel
	TxBytes   uint64

	RxDropShort    uint64 // shorter than its headers
	RxDropVersion  uint64 // neither IPv4 nor IPv6
	RxDropLength   uint64 // length in the IP header disagrees with the frame
	RxDropVirtio   uint64 // virtio header contradicts the packet
	RxDropChecksum uint64 // wrong checksum (with offload; else netstack checks and counts)

	TxDropInvalid uint64 // malformed, or refused by the kernel as invalid
	TxDropDown    uint64 // the device is administratively down
	TxDropBusy    uint64 // the kernel had no memory or queue space for it
}

// counters is Stats while it is being counted.
type counters struct {
	rxPackets, rxBytes atomic.Uint64
	txPackets, txBytes atomic.Uint64
	rxDrops            [numVerdicts]atomic.Uint64
	txInvalid          atomic.Uint64
	txDown             atomic.Uint64
	txBusy             atomic.Uint64
}

func (c *counters) snapshot() Stats {
	return Stats{
		RxPackets:      c.rxPackets.Load(),
		RxBytes:        c.rxBytes.Load(),
		TxPackets:      c.txPackets.Load(),
		TxBytes:        c.txBytes.Load(),
		RxDropShort:    c.rxDrops[dropShort].Load(),
		RxDropVersion:  c.rxDrops[dropVersion].Load(),
		RxDropLength:   c.rxDrops[dropLength].Load(),
		RxDropVirtio:   c.rxDrops[dropVirtio].Load(),
		RxDropChecksum: c.rxDrops[dropChecksum].Load(),
		TxDropInvalid:  c.txInvalid.Load(),
		TxDropDown:     c.txDown.Load(),
		TxDropBusy:     c.txBusy.Load(),
	}
}
