// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of requests: pages of ours that user memory is copied to and from, or
 * the user's own pages.
 *
 * Pages of ours are as big as can be had without effort: few pieces are what cards
 * like.  Nobody is killed for them: short of memory, a request fails with ENOMEM.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "internal.h"

static int dc_memory_list(struct dc_memory *m, unsigned int most)
{
	m->sg = kmalloc_array(most + 2, sizeof(*m->sg), DC_GFP);
	if (!m->sg)
		return -ENOMEM;
	sg_init_table(m->sg, most + 2);
	sg_unmark_end(&m->sg[most + 1]);
	m->n = 0;
	return 0;
}

static struct page *dc_pages(unsigned int len, unsigned int *order)
{
	struct page *page = NULL;

	*order = min_t(unsigned int, get_order(len), PAGE_ALLOC_COSTLY_ORDER);
	if (*order)
		page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_COMP | __GFP_NORETRY | __GFP_NOWARN,
				   *order);
	if (!page) {
		*order = 0;
		page = alloc_page(DC_GFP);
	}
	return page;
}

/* Pages of ours for @len bytes, not 0. */
int dc_memory_take(struct dc_memory *m, unsigned int len)
{
	int err = dc_memory_list(m, DIV_ROUND_UP(len, PAGE_SIZE));

	while (!err && len) {
		unsigned int order, piece;
		struct page *page = dc_pages(len, &order);

		if (!page)
			return -ENOMEM;
		piece = min_t(unsigned int, len, PAGE_SIZE << order);
		sg_set_page(&m->sg[++m->n], page, piece, 0);
		len -= piece;
	}
	if (!err)
		sg_mark_end(&m->sg[m->n]);
	return err;
}

/* Whether @page is @last's next one, as in a big page, and can be of one piece with it. */
static bool dc_follows(const struct scatterlist *sg, struct page *last, struct page *page)
{
	return page == last + 1 && page_to_pfn(page) == page_to_pfn(last) + 1 &&
	       sg->offset + sg->length < PAGE_SIZE << PAGE_ALLOC_COSTLY_ORDER;
}

/* The user's pages at @addr, @len bytes, not 0; @write: for a result. */
int dc_memory_pin(struct dc_memory *m, void __user *addr, unsigned int len, bool write)
{
	unsigned int off = offset_in_page(addr), most = DIV_ROUND_UP(off + len, PAGE_SIZE);
	struct page **pages;
	int err, i, n;

	if (!access_ok(addr, len))
		return -EFAULT;
	err = dc_memory_list(m, most);
	if (err)
		return err;
	pages = kmalloc_array(most, sizeof(*pages), DC_GFP);
	if (!pages)
		return -ENOMEM;
	m->pinned = true;
	m->written = write;
	n = pin_user_pages_fast((unsigned long)addr & PAGE_MASK, most, write ? FOLL_WRITE : 0,
				pages);
	for (i = 0; i < n; i++) {
		unsigned int piece = min_t(unsigned int, len, PAGE_SIZE - off);

		if (i && dc_follows(&m->sg[m->n], pages[i - 1], pages[i]))
			m->sg[m->n].length += piece;
		else
			sg_set_page(&m->sg[++m->n], pages[i], piece, off);
		len -= piece;
		off = 0;
	}
	kfree(pages);
	if (len)		/* what was pinned goes with the request */
		return n < 0 ? n : -EFAULT;
	sg_mark_end(&m->sg[m->n]);
	return 0;
}

/* Copy @len bytes in; what is beyond them is set to zero. */
int dc_memory_read(struct dc_memory *m, const void __user *from, unsigned int len)
{
	unsigned int i;

	for (i = 1; i <= m->n; i++) {
		unsigned int piece = min(len, m->sg[i].length);

		if (copy_from_user(sg_virt(&m->sg[i]), from, piece))
			return -EFAULT;
		memset(sg_virt(&m->sg[i]) + piece, 0, m->sg[i].length - piece);
		from += piece;
		len -= piece;
	}
	return 0;
}

/* Copy @len bytes out, after the first @skip. */
int dc_memory_write(struct dc_memory *m, void __user *to, unsigned int skip, unsigned int len)
{
	unsigned int i;

	for (i = 1; i <= m->n && len; i++) {
		unsigned int before = min(skip, m->sg[i].length);
		unsigned int piece = min(len, m->sg[i].length - before);

		if (copy_to_user(to, sg_virt(&m->sg[i]) + before, piece))
			return -EFAULT;
		to += piece;
		skip -= before;
		len -= piece;
	}
	return 0;
}

/* May sleep: pages that a file stands behind are marked as changed. */
void dc_memory_free(struct dc_memory *m)
{
	unsigned int i;

	if (!m->sg)
		return;
	for (i = 1; i <= m->n; i++) {
		struct scatterlist *sg = &m->sg[i];

		if (m->pinned)
			unpin_user_page_range_dirty_lock(sg_page(sg),
							 PFN_UP(sg->offset + sg->length),
							 m->written);
		else
			put_page(sg_page(sg));
	}
	kfree(m->sg);
	m->sg = NULL;
}
