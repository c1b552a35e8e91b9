"""One table: the crypto cards that the Linux kernel has drivers for, how to tell them, and what they count themselves.

Adding a card is adding an entry (docs/accelerators.md says how). Names and counters were read in the kernel's source
(6.12 where nothing else is said); what could not be confirmed there is left out. None was tried on silicon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hosts.crypto.proc_crypto import Driver

Counts = Literal["requests", "interrupts"]


@dataclass(frozen=True)
class Meter:
    """Something that a card counts by itself.

    ``counts``: a counter of requests rises by one for each; one interrupt may report several requests.
    ``where``: for requests a file below /sys/kernel/debug (``*``: any part of a name); for interrupts a regular
    expression that an interrupt's whole name matches. ``{address}`` stands for the device's name on its bus.
    ``pattern``: one group, a number; all that match in the file are summed. ``source``: where the kernel says so.
    """

    counts: Counts
    where: str
    source: str
    pattern: str = r"(\d+)"


@dataclass(frozen=True)
class Card:
    """A family of cards that one kernel driver serves."""

    name: str
    title: str
    drivers: str
    """A regular expression that the names of its drivers in /proc/crypto match as a whole."""
    modules: tuple[str, ...]
    """The kernel's modules."""
    algorithms: tuple[str, ...]
    """Those of the harness's ciphers that it has."""
    source: str
    """Where the kernel says so."""
    pci: tuple[str, ...] = ()
    """Vendor and device in hexadecimal: ``8086:4940``."""
    virtual: tuple[str, ...] = ()
    """Those of ``pci`` that are virtual functions."""
    virtio: int | None = None
    """The device's number."""
    platform: tuple[str, ...] = ()
    """Names of platform drivers (system on chip)."""
    meters: tuple[Meter, ...] = ()
    """What proves its use, the best first."""
    notes: str = ""


AES, DES3, GCM, ESP_GCM = "cbc(aes)", "cbc(des3_ede)", "gcm(aes)", "rfc4106(gcm(aes))"
SHA1_AES, SHA1_DES3 = "authenc(hmac(sha1),cbc(aes))", "authenc(hmac(sha1),cbc(des3_ede))"
BOTH = (AES, DES3)
CBC = (*BOTH, SHA1_AES, SHA1_DES3)
ALL = (*CBC, GCM, ESP_GCM)
ATMEL = (AES, GCM, SHA1_AES)

HISI_SEC, HISI_PLATFORM = r"hisi_sec_(aes|des|3des)_\w+", "hisi_sec_platform_driver"
EIP93 = r"[^,]+-eip93\)*|authenc\(hmac\(\w+-eip93\), .+-eip93\)+"  # with a blank, unlike a template's instance
SAFEXCEL = "crypto_safexcel"
STM32 = r"stm32-(cbc|ccm|ctr|ecb|gcm)-.+"

DMA = "with DMA, the usual case, the interrupts are the DMA controller's"
MAILBOX = "talks to its hardware through a mailbox driver, whose interrupts are not its own"
PIO = "the processor moves its data: no interrupts"


def _pci(vendor: str, devices: str) -> tuple[str, ...]:
    return tuple(f"{vendor}:{device}" for device in devices.split())


def _soc(
    name: str,
    title: str,
    drivers: str,
    module: str,
    algorithms: tuple[str, ...],
    source: str,
    platform: str | None,
    interrupts: str | None,
    notes: str = "",
) -> Card:
    """One that is part of a system on chip; ``source`` is below drivers/crypto, which also names the interrupts."""
    source = f"drivers/crypto/{source}"
    return Card(
        name=name,
        title=title,
        drivers=drivers,
        modules=(module,),
        algorithms=algorithms,
        source=source,
        platform=(platform,) if platform else (),
        meters=(Meter("interrupts", interrupts, source),) if interrupts else (),
        notes=notes,
    )


QAT_VIRTUAL = _pci("8086", "0443 19e3 37c9 4941 4943 4945 4947 4949")

CARDS: tuple[Card, ...] = (
    Card(
        name="qat",
        title="Intel QuickAssist",
        drivers=r"qat[_-].+",
        modules=("intel_qat", "qat_4xxx", "qat_420xx", "qat_6xxx", "qat_c62x", "qat_c3xxx", "qat_dh895xcc"),
        algorithms=(AES, SHA1_AES),
        pci=_pci("8086", "0435 19e2 37c8 4940 4942 4944 4946 4948") + QAT_VIRTUAL,
        virtual=QAT_VIRTUAL,
        meters=(
            Meter(
                "requests",
                "qat_*_{address}/fw_counters",
                "Documentation/ABI/testing/debugfs-driver-qat, qat_common/adf_fw_counters.c (since 6.6)",
                r"^[ \t]*\d+:[ \t]+\d+[ \t]+(\d+)[ \t]*$",  # engine, requests, responses
            ),
            Meter("interrupts", r"qat\d+-bundle\d+", "qat_common/adf_isr.c"),
            Meter("interrupts", r"qat_[0-9a-f]{2}:\d{2}\.\d{2}", "qat_common/adf_vf_isr.c"),
        ),
        source="drivers/crypto/intel/qat",
        notes="no GCM, no 3DES; priority 4001, since mid-2025 (and in updates of older kernels) 100",
    ),
    Card(
        name="virtio-crypto",
        title="virtio crypto device",
        drivers=r"virtio_crypto_.+|virtio-crypto-rsa|virtio-pkcs1-rsa",
        modules=("virtio_crypto",),
        algorithms=(AES,),
        virtio=20,
        meters=(
            Meter(
                "interrupts",
                r"{address}(-dataq\.\d+|-virtqueues)?",
                "virtio_crypto_core.c, drivers/virtio/virtio_pci_common.c",
            ),
        ),
        source="drivers/crypto/virtio",
        notes="with fewer interrupt vectors than queues all queues share one, the control queue's few among them",
    ),
    Card(
        name="caam",
        title="NXP CAAM",
        drivers=r".+-caam(-qi2?)?",
        modules=("caam", "caam_jr", "dpaa2_caam"),
        algorithms=ALL,
        source="drivers/crypto/caam",
        platform=("caam", "caam_jr"),
        meters=(
            Meter("requests", "{address}/ctl/rq_dequeued", "drivers/crypto/caam/debugfs.c"),
            Meter("interrupts", "{address}", "drivers/crypto/caam/jr.c"),
        ),
    ),
    Card(
        name="hisi-sec2",
        title="HiSilicon SEC, second generation",
        drivers=r"hisi_sec_.+\(.+\)",
        modules=("hisi_sec2", "hisi_qm"),
        algorithms=(*BOTH, GCM, SHA1_AES),
        source="drivers/crypto/hisilicon/sec2",
        pci=_pci("19e5", "a255 a256"),
        virtual=_pci("19e5", "a256"),
        meters=(
            Meter("requests", "hisi_sec2/{address}/sec_dfx/recv_cnt", "Documentation/ABI/testing/debugfs-hisi-sec"),
        ),
    ),
    Card(
        name="ccp",
        title="AMD Cryptographic Coprocessor",
        drivers=r".+-ccp",
        modules=("ccp", "ccp_crypto"),
        algorithms=(*BOTH, GCM),
        source="drivers/crypto/ccp",
        pci=_pci("1022", "1537 1456 1468 1486 15df 14ca 15c7 1649 1134 17e0 156e"),
        meters=(
            Meter("requests", "ccp/ccp-*/stats", "drivers/crypto/ccp/ccp-debugfs.c", r"Total Operations:[ \t]+(\d+)"),
        ),
        notes="many processors have the device for their secure processor alone: then no driver is listed",
    ),
    Card(
        name="octeontx-cpt",
        title="Marvell OcteonTX and OcteonTX2 CPT",
        drivers=r"cpt_.+",
        modules=("octeontx_cptvf", "octeontx_cpt", "rvu_cptvf", "rvu_cptpf"),
        algorithms=(*BOTH, ESP_GCM, SHA1_AES),
        source="drivers/crypto/marvell/octeontx, drivers/crypto/marvell/octeontx2",
        pci=_pci("177d", "a0fd a0fe a0f2 a0f3"),
        virtual=_pci("177d", "a0fe a0f3"),
        meters=(Meter("interrupts", r"CPT VF done intr|OTX2_CPT\d+LF Done\d+", "otx_cptvf_main.c, otx2_cptlf.c"),),
    ),
    Card(
        name="thunderx-cpt",
        title="Cavium ThunderX CPT",
        drivers=r"cavium-(cbc|ecb|xts)-.+",
        modules=("cptvf", "cptpf"),
        algorithms=BOTH,
        source="drivers/crypto/cavium/cpt",
        pci=_pci("177d", "a040 a041"),
        virtual=_pci("177d", "a041"),
        meters=(Meter("interrupts", "CPT VF done intr", "drivers/crypto/cavium/cpt/cptvf_main.c"),),
        notes="the first OcteonTX has the same PCI devices, with drivers called cpt_…",
    ),
    Card(
        name="nitrox",
        title="Cavium Nitrox V (CNN55XX)",
        drivers=r"n5_.+",
        modules=("n5pf",),
        algorithms=(*BOTH, GCM, ESP_GCM),
        source="drivers/crypto/cavium/nitrox",
        pci=_pci("177d", "0012"),
        meters=(
            Meter("requests", "n5pf/stats", "drivers/crypto/cavium/nitrox/nitrox_debugfs.c", r"Completed:[ \t]+(\d+)"),
            Meter("interrupts", r"nitrox-pkt\d+", "drivers/crypto/cavium/nitrox/nitrox_isr.c"),
        ),
    ),
    Card(
        name="chelsio",
        title="Chelsio T6 (chcr)",
        drivers=r".+-chcr",
        modules=("chcr", "cxgb4"),
        algorithms=(AES, GCM, ESP_GCM, SHA1_AES),
        source="drivers/crypto/chelsio",
        meters=(Meter("requests", "cxgb4/*/crypto", "cxgb4/cxgb4_debugfs.c", r"^Completion:[ \t]+(\d+)"),),
        notes="a network card: its PCI devices are not listed here, as most of them have no crypto",
    ),
    Card(
        name="hifn",
        title="HIFN 7955 and 7956",
        drivers=r"(cbc|ecb)-(3des|des|aes)-hifn\d*",
        modules=("hifn_795x",),
        algorithms=BOTH,
        source="drivers/crypto/hifn_795x.c",
        pci=_pci("13a3", "0020 001d"),
        meters=(Meter("interrupts", r"hifn\d*", "drivers/crypto/hifn_795x.c"),),
        notes="the kind of card that the paper measured",
    ),
    # name, title, drivers, module, algorithms, source, platform driver, interrupts, notes
    _soc("cesa", "Marvell CESA", r"mv-.+", "marvell_cesa", BOTH, "marvell/cesa", "marvell-cesa", "{address}"),
    _soc("ccree", "Arm TrustZone CryptoCell", r".+-ccree", "ccree", ALL, "ccree", "ccree", "ccree"),
    _soc("hisi-sec", "HiSilicon SEC", HISI_SEC, "hisi_sec", BOTH, "hisilicon/sec", HISI_PLATFORM, r"{address}_\d+"),
    _soc("safexcel", "EIP97, EIP197", r"safexcel-.+", SAFEXCEL, ALL, "inside-secure", "crypto-safexcel", "{address}"),
    _soc("eip93", "EIP93 (6.15)", EIP93, "crypto_hw_eip93", BOTH, "inside-secure/eip93", None, None),
    _soc("talitos", "Freescale SEC", r".+-talitos(-hsna)?", "talitos", CBC, "talitos.c", "talitos", "talitos"),
    _soc("atmel-aes", "Atmel AES", r"atmel-.*-aes", "atmel_aes", ATMEL, "atmel-aes.c", "atmel_aes", "atmel-aes"),
    _soc("atmel-tdes", "Atmel DES", r"atmel-.*des", "atmel_tdes", (DES3,), "atmel-tdes.c", "atmel_tdes", "atmel-tdes"),
    _soc("stm32", "STM32 CRYP", STM32, "stm32_cryp", (*BOTH, GCM), "stm32", "stm32-cryp", "{address}"),
    _soc("rockchip", "Rockchip RK3288", r".+-rk|rk-.+", "rk_crypto", BOTH, "rockchip", "rk3288-crypto", "rk-crypto"),
    _soc("sun4i-ss", "Allwinner A10", r".+-sun4i-ss", "sun4i_ss", BOTH, "allwinner/sun4i-ss", "sun4i-ss", None, PIO),
    _soc("sun8i-ce", "Allwinner CE", r".+-sun8i-ce", "sun8i_ce", BOTH, "allwinner/sun8i-ce", "sun8i-ce", "sun8i-ce-ns"),
    _soc("sun8i-ss", "Allwinner A83T", r".+-sun8i-ss", "sun8i_ss", BOTH, "allwinner/sun8i-ss", "sun8i-ss", "sun8i-ss"),
    _soc("omap", "TI OMAP", r".+-omap", "omap_aes_driver", (*BOTH, GCM, ESP_GCM), "omap-aes.c", "omap-aes", None, DMA),
    _soc("sa2ul", "TI SA2UL", r".+-sa2ul", "sa2ul", (*BOTH, SHA1_AES), "sa2ul.c", "saul-crypto", None, DMA),
    _soc("qce", "Qualcomm Crypto Engine", r".+-qce", "qcrypto", (AES,), "qce", "qcrypto", None, DMA),
    _soc("iproc", "Broadcom SPU", r".+-iproc", "bcm_crypto_spu", ALL, "bcm", "brcm-spu-crypto", None, MAILBOX),
    _soc("aspeed", "ASPEED HACE", r"aspeed-.+", "aspeed_crypto", BOTH, "aspeed", "aspeed_crypto", "{address}"),
    _soc("amlogic", "Amlogic GXL", r".+-gxl", "amlogic_gxl_crypto", (AES,), "amlogic", "gxl-crypto", "gxl-crypto"),
    _soc("niagara2", "SPARC Niagara 2", r".+-n2", "n2_crypto", BOTH, "n2_core.c", None, None),
    _soc("ixp4xx", "Intel IXP4xx", r".+-ixp4xx", "ixp4xx_crypto", CBC, "intel/ixp4xx", "ixp4xx_crypto", None),
)


def recognise(driver: Driver) -> Card | None:
    """The card behind a driver of /proc/crypto, by the driver's name; None where the table has none of that name."""
    return next((card for card in CARDS if re.fullmatch(card.drivers, driver.driver)), None)


def card_of_pci(identity: str) -> Card | None:
    """The card with a PCI identity, ``8086:4940``."""
    return next((card for card in CARDS if identity in card.pci), None)
