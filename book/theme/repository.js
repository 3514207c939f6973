// Pages link to the repository's files by their place in it, as editors and GitHub understand it. Here, where there
// are only the pages, such a link leads to GitHub.
(() => {
    const repository = "https://github.com/containers-by-hand/containers-by-hand/blob/main/";
    for (const link of document.querySelectorAll('main a[href^="../"]')) {
        const place = new URL(link.getAttribute("href"), "https://repository/book/src/");
        link.href = repository + place.pathname.slice(1) + place.hash;
    }
})();
