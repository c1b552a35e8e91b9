// SPDX-License-Identifier: GPL-2.0-only
/* Answers for OpenSSL's qatengine whether the processor can do its software mode: by instructions; see README.md. */

int qat_sw_cpu_support(void);

int qat_sw_cpu_support(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vaes") &&
	       __builtin_cpu_supports("vpclmulqdq");
}
