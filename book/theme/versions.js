// Where the kernel has two versions of something, tabs: the choice holds for all pages. Without this both are shown.
(() => {
    const all = [...document.querySelectorAll(".versions")];
    const kept = "containers-by-hand-version";
    const panelsOf = versions => [...versions.children].filter(child => child.dataset.version);

    function choose(version) {
        for (const versions of all) {
            const panels = panelsOf(versions);
            if (!panels.some(panel => panel.dataset.version === version)) continue;
            for (const panel of panels) {
                const chosen = panel.dataset.version === version;
                // So a search in the page finds what is hidden, and what it finds is shown.
                if (chosen) panel.removeAttribute("hidden");
                else panel.setAttribute("hidden", "until-found");
                const tab = document.getElementById(panel.getAttribute("aria-labelledby"));
                tab.setAttribute("aria-selected", chosen);
                tab.tabIndex = chosen ? 0 : -1;
            }
        }
    }

    function chooseBy(tab) {
        const before = tab.getBoundingClientRect().top;
        choose(tab.textContent);
        try { localStorage.setItem(kept, tab.textContent); } catch { /* then it holds for this page */ }
        // Tabs further up may have changed their heights.
        window.scrollBy(0, tab.getBoundingClientRect().top - before);
    }

    all.forEach((versions, number) => {
        const panels = panelsOf(versions);
        const list = document.createElement("div");
        list.setAttribute("role", "tablist");
        panels.forEach((panel, index) => {
            const tab = document.createElement("button");
            tab.type = "button";
            tab.id = `version-${number}-${index}`;
            tab.textContent = panel.dataset.version;
            tab.setAttribute("role", "tab");
            panel.id ||= `${tab.id}-panel`;
            tab.setAttribute("aria-controls", panel.id);
            panel.setAttribute("role", "tabpanel");
            panel.setAttribute("aria-labelledby", tab.id);
            panel.addEventListener("beforematch", () => choose(panel.dataset.version));
            tab.addEventListener("click", () => chooseBy(tab));
            list.append(tab);
        });
        list.addEventListener("keydown", event => {
            const tabs = [...list.children];
            const at = tabs.indexOf(document.activeElement);
            const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
            if (next === undefined) return;
            event.preventDefault();
            event.stopPropagation(); // mdBook turns the page
            const tab = tabs[(next + tabs.length) % tabs.length];
            tab.focus();
            chooseBy(tab);
        });
        versions.prepend(list);
        versions.classList.add("tabs");
    });

    for (const versions of all) choose(panelsOf(versions)[0].dataset.version);
    try { choose(localStorage.getItem(kept)); } catch { /* the first, then */ }
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const panel = target && target.closest("[data-version]");
    if (panel) {
        choose(panel.dataset.version);
        target.scrollIntoView();
    }
})();
